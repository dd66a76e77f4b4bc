package rscaler;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.reflect.Array;
import java.rmi.MarshalledObject;
import java.rmi.RemoteException;
import java.util.ArrayList;
import java.util.List;
import javax.management.InstanceNotFoundException;
import javax.management.MBeanException;
import javax.management.MBeanOperationInfo;
import javax.management.MBeanParameterInfo;
import javax.management.ObjectName;
import javax.management.ReflectionException;
import javax.management.RuntimeMBeanException;
import javax.management.remote.rmi.RMIConnection;

/** Operations of MBeans, with arguments that come as text. */
final class Invoke {
    private Invoke() {}

    static void invoke(RMIConnection from, DataInputStream in, DataOutputStream out) throws Exception {
        ObjectName name = Reads.parse(Jmx.string(in));
        String operation = Jmx.string(in);
        String[] given = new String[in.readInt()];
        for (int i = 0; i < given.length; i++) {
            given[i] = Jmx.string(in);
        }
        String[] types = new String[in.readInt()];
        for (int i = 0; i < types.length; i++) {
            types[i] = Jmx.string(in);
        }
        if (types.length != given.length) {
            types = types(from, name, operation, given.length);
        }
        Object[] arguments = new Object[given.length];
        for (int i = 0; i < given.length; i++) {
            arguments[i] = argument(given[i], types[i], i);
        }
        Object result;
        try {
            result = from.invoke(name, operation, new MarshalledObject<Object[]>(arguments), types, null);
        } catch (InstanceNotFoundException gone) {
            throw new Fault(Fault.MISSING, "there is no MBean `" + name + "`");
        } catch (MBeanException threw) {
            throw new Fault(Fault.THREW, "the operation threw " + Fault.text(threw));
        } catch (RuntimeMBeanException threw) {
            throw new Fault(Fault.THREW, "the operation threw " + Fault.text(threw));
        } catch (ReflectionException unknown) {
            throw new Fault(Fault.MISSING, "there is no such operation: " + Fault.text(unknown));
        } catch (SecurityException denied) {
            throw new Fault(Fault.AUTHENTICATION, "access is denied: " + Fault.text(denied));
        } catch (RemoteException unread) {
            Fault inner = Fault.in(unread);
            throw inner == null ? unread : new Fault(inner.kind, "the operation was invoked; its result can not be told: " + inner.getMessage());
        }
        Jmx.string(out, shown(result));
    }

    private static String shown(Object result) {
        if (result == null) {
            return "";
        }
        if (result instanceof String) {
            return (String) result;
        }
        if (result instanceof String[]) {
            StringBuilder lines = new StringBuilder();
            for (String line : (String[]) result) {
                lines.append(line).append('\n');
            }
            return lines.toString();
        }
        StringBuilder json = new StringBuilder();
        Values.json(result, json);
        return json.toString();
    }

    private static String[] types(RMIConnection from, ObjectName name, String operation, int arguments) throws Exception {
        List<String[]> found = new ArrayList<String[]>();
        boolean known = false;
        MBeanOperationInfo[] operations;
        try {
            operations = from.getMBeanInfo(name, null).getOperations();
        } catch (InstanceNotFoundException gone) {
            throw new Fault(Fault.MISSING, "there is no MBean `" + name + "`");
        }
        for (MBeanOperationInfo one : operations) {
            if (!one.getName().equals(operation)) {
                continue;
            }
            known = true;
            MBeanParameterInfo[] signature = one.getSignature();
            if (signature.length == arguments) {
                String[] types = new String[arguments];
                for (int i = 0; i < arguments; i++) {
                    types[i] = signature[i].getType();
                }
                found.add(types);
            }
        }
        if (found.size() == 1) {
            return found.get(0);
        }
        if (found.isEmpty()) {
            String why = known ? "takes another number of arguments than " + arguments : "is not there";
            throw new Fault(Fault.MISSING, "operation `" + operation + "` of `" + name + "` " + why);
        }
        throw new Fault(Fault.INVALID, "there are " + found.size() + " operations `" + operation + "` with as many arguments: give `signature`");
    }

    private static Object argument(String text, String type, int at) throws IOException {
        try {
            return made(text, type);
        } catch (Fault fault) {
            throw fault;
        } catch (Exception wrong) {
            throw new Fault(Fault.INVALID, "argument " + (at + 1) + " is no " + type + ": " + Fault.text(wrong));
        }
    }

    private static Object made(String text, String type) throws Exception {
        switch (type) {
            case "java.lang.String":
            case "java.lang.Object":
                return text;
            case "boolean":
            case "java.lang.Boolean":
                if (!text.equals("true") && !text.equals("false")) {
                    throw new IllegalArgumentException("it is true or false");
                }
                return Boolean.valueOf(text);
            case "byte":
            case "java.lang.Byte":
                return Byte.valueOf(text);
            case "short":
            case "java.lang.Short":
                return Short.valueOf(text);
            case "int":
            case "java.lang.Integer":
                return Integer.valueOf(text);
            case "long":
            case "java.lang.Long":
                return Long.valueOf(text);
            case "float":
            case "java.lang.Float":
                return Float.valueOf(text);
            case "double":
            case "java.lang.Double":
                return Double.valueOf(text);
            case "char":
            case "java.lang.Character":
                if (text.length() != 1) {
                    throw new IllegalArgumentException("it is one character");
                }
                return text.charAt(0);
            case "javax.management.ObjectName":
                return new ObjectName(text);
            default:
        }
        if (type.startsWith("[")) {
            return array(text, type);
        }
        throw new Fault(Fault.INVALID, "an argument of type " + type + " can not be made of text");
    }

    /** Elements with commas between them. */
    private static Object array(String text, String type) throws Exception {
        Class<?> of = Class.forName(type).getComponentType();
        String[] parts = text.isEmpty() ? new String[0] : text.split(",", -1);
        Object array = Array.newInstance(of, parts.length);
        for (int i = 0; i < parts.length; i++) {
            Array.set(array, i, made(of == String.class ? parts[i] : parts[i].trim(), of.getName()));
        }
        return array;
    }
}
