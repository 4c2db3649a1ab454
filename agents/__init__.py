"""The agents: one state machine, its nodes, and the brains behind planner, scout and critic."""
