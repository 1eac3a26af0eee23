"""The local web server behind the page: episodes, frames and labels over HTTP."""
