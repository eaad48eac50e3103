"""The router: sends each prompt to the cheapest model tier that will answer it well."""
