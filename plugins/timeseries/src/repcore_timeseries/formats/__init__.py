"""Files of series: archives of cases (.ts, .arff, .tsv, .tsf), tables with time stamps, arrays."""
