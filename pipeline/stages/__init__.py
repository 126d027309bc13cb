"""The stages of processing: functions over arrays that do not import each other."""
