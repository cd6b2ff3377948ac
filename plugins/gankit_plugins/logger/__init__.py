"""Logger plugins. They log a run to a file or a service, in addition to log.jsonl."""
