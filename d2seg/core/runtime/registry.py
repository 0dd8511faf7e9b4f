"""A registry whose errors name the entries there are."""

import difflib
from typing import Any

from fvcore.common.registry import Registry as FvcoreRegistry


class Registry(FvcoreRegistry):
    """Names to objects, as in fvcore; an unknown name lists the known ones and the nearest."""

    def get(self, name: str) -> Any:
        """Return the object of this name.

        Raises:
            KeyError: Nothing is registered under the name.
        """
        if name in self:
            return super().get(name)
        known = sorted(key for key, _ in self)
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else "."
        raise KeyError(
            f"No '{name}' in the registry {self._name}{hint} Known: {', '.join(known) or 'none'}."
        )
