use serde::{Deserialize, Serialize};

/// One line of a session's shopping cart, the list in the data key `cart`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartItem {
    /// The application's name for the product: 1 to 256 bytes.
    pub product_id: String,
    /// How many: 1 to [`CartItem::MAX_QUANTITY`].
    pub quantity: u64,
}

impl CartItem {
    /// The data key that holds the cart.
    pub const DATA_KEY: &'static str = "cart";
    /// The most of one product that a cart holds.
    pub const MAX_QUANTITY: u64 = 1_000_000_000;
    /// The longest product id, in bytes.
    pub const MAX_PRODUCT_ID_BYTES: usize = 256;

    /// Checks the line; the error says which field breaks what rule.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !(1..=Self::MAX_PRODUCT_ID_BYTES).contains(&self.product_id.len()) {
            return Err(("product_id", format!("1 to {} bytes", Self::MAX_PRODUCT_ID_BYTES)));
        }
        if !(1..=Self::MAX_QUANTITY).contains(&self.quantity) {
            return Err(("quantity", format!("1 to {}", Self::MAX_QUANTITY)));
        }
        Ok(())
    }

    /// Adds a line to a cart; adding a product again raises its quantity, up to the most that a cart holds.
    pub fn add_to(self, cart: &mut Vec<Self>) {
        match cart.iter_mut().find(|line| line.product_id == self.product_id) {
            Some(line) => line.quantity = (line.quantity + self.quantity).min(Self::MAX_QUANTITY),
            None => cart.push(self),
        }
    }
}
