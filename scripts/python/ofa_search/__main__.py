"""`python -m ofa_search` is `ofa`."""

from ofa_search.launcher import main

main()
