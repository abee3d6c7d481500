"""dtsinn: find, prove, keep and use networks that separate two tracers in one PET scan."""

__version__ = "0.1.0"
