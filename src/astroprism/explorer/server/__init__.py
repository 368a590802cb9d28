"""The server that the browser asks: routes, guard, dropped files."""
