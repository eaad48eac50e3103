"""How the parts are joined, from settings to what they describe: beside server, all that knows core and adapters."""
