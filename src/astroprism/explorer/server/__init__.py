"""The explorer's web server: routes and their parameters, the guard before them, uploaded files."""
