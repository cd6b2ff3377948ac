"""Studies of what each trick of a recipe does: many runs, compared seed by seed."""
