"""What a person wants to see of a server that runs, without Prometheus or Grafana.

figures   the numbers of one moment, read from the counters of all processes
history   moments of the last hours, kept in memory
plots     both as SVG
page      /status: one page of HTML without scripts
"""
