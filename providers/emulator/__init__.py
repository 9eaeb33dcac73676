"""The providers, emulated over loopback HTTP for the demo, the tests and `rehearse`; shares no code with the client."""
