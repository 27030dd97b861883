"""API keys with two roles, so that Forge's guard knows who acts.

`token` is what a key looks like, `permissions` what its role may do, `server_key` what proves it, `store` where it is
kept, `directory` how it is answered from memory; `provider` is the driver `api_keys` made of them.
"""

from __future__ import annotations

__version__ = "1.0.0"
