"""The physical layer: payload -> baseband -> air -> receiver -> estimate.

Knows nothing of models, data or sockets. Importing the package itself is light; :class:`phy.link.Link` is the
entry point and :class:`phy.config.LinkConfig` its configuration.
"""
