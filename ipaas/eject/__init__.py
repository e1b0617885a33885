"""A YAML workflow as the equivalent Python: `ipaas eject FILE.yaml`.

`layout` writes code in lines, `expressions` makes Python of expressions, `names` gives everything a name, `blocks`
makes statements of steps, `module` puts the file together.
"""

from ipaas.eject.module import eject

__all__ = ["eject"]
