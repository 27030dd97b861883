"""Registry and tracker over the project's database; bytes lie in its storage, addressed by digest.

- `registry` and `tracker` are the drivers; what they share lies beside them.
- `names` says what may be a name, `tables` what is in the database.
- `bundle` reads a folder that somebody else wrote; `blobs` keeps its files (on a disk: `disk`, elsewhere: `objects`);
  `checkouts` hands them out again, verified.
- `versions`, `aliases`, `ancestry` and `garbage` are the registry's statements, by subject.
"""

from __future__ import annotations

__version__ = "1.0.0"
