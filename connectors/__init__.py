"""The systems that workflows talk to. `from connectors import slack` gives a connector with its actions.

Connectors are imported one by one, when they are used; `connectors.kit.registry` knows them all.
"""
