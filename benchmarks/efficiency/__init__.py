"""How much sooner a search finds a good network than random search: tables and simulation."""
