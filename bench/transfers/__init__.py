"""Moving files, beside the programs that are there anyway: on this machine (`local`), and over SSH (`over_ssh`)."""
