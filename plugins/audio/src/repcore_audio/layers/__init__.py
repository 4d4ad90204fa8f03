"""Parts of networks and of their use that know no batch: schedules, decoding, quantisation."""
