"""How long records stay whole, and how erasable detail is destroyed so that every proof still holds."""
