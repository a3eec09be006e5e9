# contrib: tools of operators and developers.
