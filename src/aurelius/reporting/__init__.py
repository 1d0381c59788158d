"""What people read: how runs compare."""
