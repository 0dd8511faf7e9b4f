"""Reading files of strangers: nothing in them is run, and none takes more memory than it holds."""
