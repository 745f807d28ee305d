"""What every test can count on."""

import signal

from hypothesis import HealthCheck, settings

# How long an example takes hangs on what else the machine does.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")

# A shell that runs the tests in the background has SIGINT ignored, which children inherit; some
# tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
