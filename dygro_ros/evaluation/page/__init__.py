"""The operator's page: a sitting of an evaluation in a browser, on this machine unless asked otherwise."""
