"""Between the generated messages and the router's own types: nothing else is done here."""
