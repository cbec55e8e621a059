"""Operations on feature maps, some with another implementation on each platform."""
