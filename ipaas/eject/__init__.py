"""A YAML workflow as the equivalent Python: `ipaas eject FILE.yaml`.

`layout` writes code in lines, `expressions` makes Python of expressions, `ejected` knows the workflow, `blocks` and
`loops` make statements of its steps, `module` puts the file together.
"""

from ipaas.eject.module import eject

__all__ = ["eject"]
