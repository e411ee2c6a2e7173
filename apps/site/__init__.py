"""The documents as a site, and the page that the configs write of themselves."""
