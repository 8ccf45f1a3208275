"""The interfaces that clients know, each in the shapes of those who made it."""
