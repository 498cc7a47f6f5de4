"""pfrec, ground floor: schema, data, models, variable groups, metrics,
and the formats of client and run directories.
"""

__version__ = "0.1.0"
