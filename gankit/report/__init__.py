"""Reports of one or several runs, as HTML pages and tables. The package reads run directories without torch."""
