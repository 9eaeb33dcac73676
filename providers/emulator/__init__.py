"""The providers, emulated over loopback HTTP for the demo, the tests and `rehearse`; shares no code with the client."""

from providers.emulator.bedrock_settings import BedrockSettings
from providers.emulator.emulator import BatchRecord, Emulator, environment
from providers.emulator.faults import Fault
from providers.emulator.server import RequestRecord
from providers.emulator.world import Charge, Rates

__all__ = ["BatchRecord", "BedrockSettings", "Charge", "Emulator", "Fault", "Rates", "RequestRecord", "environment"]
