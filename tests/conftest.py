"""What every test can count on."""

import signal

# A shell that runs the tests in the background has SIGINT ignored, which children inherit; some
# tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
