"""The plugins that come with gankit, one folder for each kind."""
