"""The operations API below `/v1/ops`: what operators see and do, over all tenants.

Reading needs `ops:read`; each change its own scope, and its line in the audit
log. The console's pages call the same services. It never shows a payload,
except one that was revealed.
"""

from __future__ import annotations
