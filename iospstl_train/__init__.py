"""The offline toolkit behind the command ``iospstl-train``."""
