// Parts of both arrays. Operands are 8-bit and sums 32-bit signed integers: on small whole numbers a float engine's
// results are exact, so that its numbers and these must be the same.

// V multipliers, each behind a selector of one of WORD activations; w holds V pairs {value, position}.
module nm_dot #(
    parameter int V = 1,
    parameter int WORD = 1
) (
    input  wire [WORD*8-1:0] x,
    input  wire [V*16-1:0] w,
    output logic signed [31:0] sum
);
  logic [V*32-1:0] products;
  genvar v;
  for (v = 0; v < V; v++) begin : g_lane
    wire [7:0] position = w[16*v+:8];
    wire signed [7:0] picked = x[8*position+:8];
    wire signed [7:0] weight = w[16*v+8+:8];
    wire signed [31:0] product = picked * weight;
    assign products[32*v+:32] = product;
  end
  always_comb begin
    sum = 0;
    for (int lane = 0; lane < V; lane++) sum = sum + $signed(products[32*lane+:32]);
  end
endmodule

// An adder of latency L: what is issued in cycle t comes out at the end of cycle t + L - 1, to be registered by its
// reader and read in t + L.
module adder_pipe #(
    parameter int L = 1,
    parameter int TAG = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire valid,
    input  wire [TAG-1:0] tag,
    input  wire signed [31:0] a,
    input  wire signed [31:0] b,
    output wire out_valid,
    output wire [TAG-1:0] out_tag,
    output wire signed [31:0] out
);
  wire signed [31:0] sum = a + b;
  if (L == 1) begin : g_flat
    assign {out_valid, out_tag, out} = {valid, tag, sum};
  end else begin : g_pipe
    logic [TAG+32:0] stage[1:L-1];
    always_ff @(posedge clk) begin
      stage[1] <= {valid & ~rst, tag, sum};
      for (int i = 2; i < L; i++) stage[i] <= rst ? '0 : stage[i-1];
    end
    assign {out_valid, out_tag, out} = stage[L-1];
  end
endmodule
