"""How often the property tests try: as usual, or with `make fuzz` many times as often."""

from hypothesis import HealthCheck, settings

# A machine that is busy with other things is no fault of what is tested.
settings.register_profile("usual", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("usual"), max_examples=5_000)
settings.load_profile("usual")
