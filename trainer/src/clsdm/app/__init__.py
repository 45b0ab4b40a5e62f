"""What other programs start: the command line, request files and the worker."""
