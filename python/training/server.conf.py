import ctypes


def worker_exit(server, worker):
    # A worker ends without what is registered for the exit of a process, where the counts are written.
    ctypes.CDLL(None).exit(0)
