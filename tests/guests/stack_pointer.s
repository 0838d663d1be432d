    .globaltype __stack_pointer, i32
    .globl stack_pointer
    .type stack_pointer,@function
stack_pointer:
    .functype stack_pointer () -> (i32)
    global.get __stack_pointer
    end_function
