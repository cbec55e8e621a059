"""Operations whose implementation depends on the platform; results agree up to rounding."""
