"""Views take results and return figures; they compute nothing and never call show()."""
