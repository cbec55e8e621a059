"""Operations on feature maps; some have a different implementation on each platform."""
