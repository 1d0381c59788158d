"""Do the runtimes that load an exported model agree with it?"""
