"""The steps of the work: functions over arrays, strangers to each other."""
