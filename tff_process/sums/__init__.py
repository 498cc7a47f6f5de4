"""What of many vectors only their sum is told: whole numbers, and masks that cancel in it."""
