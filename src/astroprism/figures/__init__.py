"""Plots: functions of tables and results that return matplotlib figures; they never call show()."""
