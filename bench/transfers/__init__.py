"""Moving files, beside the programs that are there anyway: on this machine (`local`), over SSH (`__main__`)."""
